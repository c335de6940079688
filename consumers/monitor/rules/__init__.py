"""Alert rules of a stream: evaluated on judged windows, with the actions that they name."""
