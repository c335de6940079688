"""The predictor: answers events with predictions and follows the newest model version."""
