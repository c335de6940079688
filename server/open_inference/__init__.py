"""Open Inference Protocol V2 (KServe, Triton): tensors in, tensors out, over REST."""
