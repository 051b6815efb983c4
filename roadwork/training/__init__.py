"""Training: pretraining on unlabelled views, the probe, and fine-tuning."""
