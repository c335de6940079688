"""`millstream evaluate`: metrics of models on a file or a log, beside baselines and with intervals."""
