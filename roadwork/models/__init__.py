"""Models: backbones, adapters, aggregators and the classifier."""
