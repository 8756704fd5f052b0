"""What is made of readings: known test sets, intervals, tests, breakdowns, tables."""
