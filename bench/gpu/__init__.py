"""What `bench.gpu_smoke` works with: its models, and the programs that it starts."""
