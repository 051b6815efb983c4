"""ZenML stacks as files, and the command that makes ZenML agree with them."""
