"""The learner: learns from examples, in log order, and writes model versions."""
