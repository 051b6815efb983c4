"""Export: the graph that engines run, and the proof that they answer like the trained network."""
