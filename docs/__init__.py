"""Documents, and the program that draws some of them from code."""
