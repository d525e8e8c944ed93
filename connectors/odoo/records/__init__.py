"""Records of Odoo's models, read so that none is lost, and written."""
