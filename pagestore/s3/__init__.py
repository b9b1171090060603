"""The S3 backend, with boto3 or obstore."""
