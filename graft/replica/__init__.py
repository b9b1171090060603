"""The replica: state, transactions, views, and which replicas this process has open."""
