"""Names, companies and places to draw from, and the ways in which people's addresses are odd."""

from __future__ import annotations

FIRST = (
    "Anna", "Ben", "Chloé", "Dmitri", "Elif", "Fatima", "Grace", "Hiro", "Inès", "Jürgen", "Kofi", "Lucía", "Mehmet",
    "Noor", "Olga", "Priya", "Quentin", "Rosa", "Søren", "Tomás", "Ursula", "Viktor", "Wei", "Ximena", "Yusuf", "Zoë",
    "Aiko", "Björn", "Carmen", "Denis", "Eleni", "Farid", "Greta", "Hanna", "Igor", "Julia", "Karim", "Lena", "Marek",
    "Nadia", "Oscar", "Paul", "Rania", "Stefan", "Thi", "Uwe", "Vera", "Walter", "Yara", "Zdeněk", "Ana Maria",
    "Jean-Luc", "Mary Ann", "Þór", "名前", "Ольга",
)
LAST = (
    "Smith", "García", "Müller", "O'Hara", "Nguyen", "Kowalski", "Rossi", "Şahin", "Ivanov", "Yamada", "Dubois",
    "Van den Berg", "Okafor", "Silva", "Novák", "Andersson", "Papadopoulos", "Haddad", "Kim", "Singh", "Jensen",
    "Fischer", "Weber", "Martin", "Bernard", "Moreau", "Peeters", "Janssens", "Claes", "Schulz", "Wagner", "Becker",
    "Lopez", "Sánchez", "Costa", "Ferrari", "Horváth", "Popescu", "Petrov", "Kaya", "Demir", "Tanaka", "Sato", "Chen",
    "Wang", "Ali", "Khan", "Mensah", "Diallo", "Traoré", "Brown", "Wilson", "Taylor", "Evans", "McDonald", "St. John",
    "De la Cruz", "d'Arcy", "Østergård", "Łukasiewicz", "Ng", "Öztürk", "Ó Briain", "Żak",
)
ASCII_FIRST = ("anna", "ben", "chloe", "dmitri", "elif", "fatima", "grace", "hiro", "ines", "jurgen", "kofi", "lucia",
               "mehmet", "noor", "olga", "priya", "quentin", "rosa", "soren", "tomas")
"""What people put in an address; it need not be their name."""
DECORATIONS = ("{} 🦊", "{}\u0007", "\u200b{}", "{}\u00a0", "{}\t", "\u202e{}", "{} 👩\u200d💻", "e\u0301{}")
"""What copying, scanning and phones leave in names: emoji, control characters, marks that do not show."""
COMPANY = ("Alpine", "Baltic", "Cedar", "Delta", "Ember", "Fjord", "Granite", "Harbour", "Indigo", "Juniper", "Kestrel",
           "Lumen", "Meridian", "Nordic", "Orchid", "Pioneer", "Quartz", "Ridge", "Summit", "Tidal")
TRADE = ("Foods", "Energy", "Logistics", "Software", "Textiles", "Bank", "Labs", "Farms", "Schools", "Retail")
LEGAL = ("GmbH", "SA", "Ltd", "& Sons", "AG", "BV", "SARL", "Inc.")
INDUSTRIES = ("Agriculture", "Banking", "Education", "Energy", "Retail", "Technology", "Other")
COUNTRIES = (("Belgium", 20), ("Germany", 57), ("France", 75), ("United States", 233))
"""(name, Odoo's id)."""
PERSONAS = ("buyer", "decider", "tester", "partner")
DOMAINS = ("mail.example", "post.example", "example.org", "web.example", "sub.mail.example")
IDN = (("bücher.example", "xn--bcher-kva.example"), ("café.example", "xn--caf-dma.example"))
"""(as people write it, as machines do)."""
INVALID = ("n/a", "none", "unknown@", "@mail.example", "two@@mail.example", "missing.at.example", "anna@localhost",
           "a b@mail.example", "anna@mail..example", "dot.@mail.example", "x@-mail.example", "tbd@mail,example")
