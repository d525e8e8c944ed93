"""The files `syncd init` writes."""
