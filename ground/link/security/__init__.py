"""Link security on the ground: frames sealed as they leave, the record stored, keys changed over the air."""
