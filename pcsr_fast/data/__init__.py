"""Image-text pairs from disk: features, captions, vocabulary, noise, the demo set; nothing here knows a model."""
