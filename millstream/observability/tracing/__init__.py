"""One trace from a feature event to its prediction, its label and the version that first has it learned."""
