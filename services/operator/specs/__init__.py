"""What people write into the `spec` of the custom resources."""
