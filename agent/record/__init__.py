"""Game records: SGF read and written."""
