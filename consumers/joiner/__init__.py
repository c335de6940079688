"""The joiner: pairs features with labels and writes learning examples."""
