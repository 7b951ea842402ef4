"""Files on disk -> records -> tf.data. Knows no model and no task."""
