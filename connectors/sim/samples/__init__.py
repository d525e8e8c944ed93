"""Ready mappings for the sandbox, copied into its directory: ``full`` for the messy world, ``bench`` for the plain."""
