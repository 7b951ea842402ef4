"""SavedModels: trained models that need TensorFlow and nothing of this package."""
