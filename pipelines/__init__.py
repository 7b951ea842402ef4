"""From files on disk to records and tf.data; independent of models and tasks."""
