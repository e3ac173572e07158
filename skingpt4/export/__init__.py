"""The assembled model in other programs' formats."""
