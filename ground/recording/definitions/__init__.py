"""Files of packet definitions: our dictionary, XTCE 1.2 and the CSV form that ccsdspy reads; fields as columns."""
