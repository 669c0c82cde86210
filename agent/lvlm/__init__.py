"""What differs between checkpoint families, and the forward pass the policy samples and scores with."""
