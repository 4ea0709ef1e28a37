"""Tables into files: .npz, .csv, Parquet and Arrow, of any length in memory that does not grow."""
