"""`agent analyze`: a recorded game, analysed turn by turn, as a table, a page, SGF and JSON."""
