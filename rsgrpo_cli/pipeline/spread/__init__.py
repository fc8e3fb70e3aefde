"""Parts of a run made by several workers: processes of this machine, or actors of a Ray cluster."""
