"""The shadow role: asks the models that do not serve what they would have answered."""
