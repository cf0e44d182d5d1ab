"""What is fastest for a model on this machine, and what that costs in quality: ``nucleus tune``."""
