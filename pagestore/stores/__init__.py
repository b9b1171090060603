"""Object stores other than S3, and wrappers of any store."""
