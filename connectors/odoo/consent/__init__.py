"""What addresses told Odoo: the blacklist and the subscriptions of mailing lists, read and written."""
