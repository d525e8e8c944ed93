"""syncd keeps an email service provider in step with a CRM, and the CRM in step with what people told the provider."""

__version__ = "0.1.0"
