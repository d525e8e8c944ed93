"""The standard objects this organisation has, one line per field.

A line is: name, type, then any of a length, ``->Object`` (references) and the words ``required``, ``computed``
(neither createable nor updateable), ``create`` (set on create only), ``nofilter``, ``restricted``; a picklist's values
follow a colon. A reference that may lead to several objects names them with commas between.
"""

from __future__ import annotations

SYSTEM = """
Id id computed
IsDeleted boolean computed
"""

STAMPS = """
CreatedDate datetime create
CreatedById reference ->User computed
LastModifiedDate datetime computed
LastModifiedById reference ->User computed
SystemModstamp datetime computed
"""

PERSON = """
FirstName string 40
LastName string 80 required
Salutation picklist 40: Mr.|Ms.|Mrs.|Dr.|Prof.
Name string 121 computed
Email email 80
Title string 128
Phone phone 40
MobilePhone phone 40
Fax phone 40
LeadSource picklist 255: Web|Phone Inquiry|Partner Referral|Purchased List|Other
Description textarea 32000
HasOptedOutOfEmail boolean
HasOptedOutOfFax boolean
DoNotCall boolean
EmailBouncedDate datetime
EmailBouncedReason string 255
OwnerId reference ->User
RecordTypeId reference
MasterRecordId reference computed
LastActivityDate date computed
"""

CONTACT = PERSON + """
AccountId reference ->Account
Department string 80
Birthdate date
MailingStreet textarea 255
MailingCity string 40
MailingState string 80
MailingPostalCode string 20
MailingCountry string 80
ReportsToId reference ->Contact
IsEmailBounced boolean computed
LastCURequestDate datetime computed
"""

LEAD = PERSON + """
Company string 255 required
Status picklist 255: Open - Not Contacted|Working - Contacted|Closed - Converted|Closed - Not Converted
Street textarea 255
City string 40
State string 80
PostalCode string 20
Country string 80
Industry picklist 255: Agriculture|Banking|Education|Energy|Retail|Technology|Other
IsConverted boolean create
ConvertedDate date computed
ConvertedAccountId reference ->Account computed
ConvertedContactId reference ->Contact computed
ConvertedOpportunityId reference ->Opportunity computed
"""

ACCOUNT = """
Name string 255 required
Type picklist 255: Prospect|Customer|Partner|Other
Industry picklist 255: Agriculture|Banking|Education|Energy|Retail|Technology|Other
ParentId reference ->Account
OwnerId reference ->User
RecordTypeId reference
MasterRecordId reference computed
Phone phone 40
Website url 255
AnnualRevenue currency
NumberOfEmployees int
BillingStreet textarea 255
BillingCity string 40
BillingState string 80
BillingPostalCode string 20
BillingCountry string 80
"""

ACCOUNT_PERSON = """
IsPersonAccount boolean computed
PersonContactId reference ->Contact computed
Salutation picklist 40: Mr.|Ms.|Mrs.|Dr.|Prof.
FirstName string 40
LastName string 80
"""
"""Present on Account with person accounts only; Person* and __pc fields are added from Contact."""

OPPORTUNITY = """
Name string 120 required
AccountId reference ->Account
OwnerId reference ->User
CampaignId reference ->Campaign
StageName picklist 255 required: Prospecting|Qualification|Proposal|Negotiation|Closed Won|Closed Lost
CloseDate date required
Amount currency
Probability percent
Type picklist 255: New|Existing
LeadSource picklist 255: Web|Phone Inquiry|Partner Referral|Purchased List|Other
Description textarea 32000
IsClosed boolean computed
IsWon boolean computed
"""

ROLE = """
OpportunityId reference ->Opportunity required create
ContactId reference ->Contact required
Role picklist 255: Business User|Decision Maker|Economic Buyer|Evaluator|Influencer|Other
IsPrimary boolean
"""

CAMPAIGN = """
Name string 80 required
Type picklist 255: Email|Webinar|Conference|Other
Status picklist 255: Planned|In Progress|Completed|Aborted
StartDate date
EndDate date
IsActive boolean
OwnerId reference ->User
ParentId reference ->Campaign
Description textarea 32000
"""

MEMBER = """
CampaignId reference ->Campaign required create
LeadId reference ->Lead create
ContactId reference ->Contact create
Status string 40
HasResponded boolean computed
FirstRespondedDate date computed
"""

MEMBER_STATUS = """
CampaignId reference ->Campaign required create
Label string 765 required
HasResponded boolean
IsDefault boolean
SortOrder int
"""

HISTORY = """
Field picklist 255 computed
DataType picklist 40 computed
OldValue anyType computed nofilter
NewValue anyType computed nofilter
CreatedById reference ->User computed
CreatedDate datetime computed
"""

USER = """
Username string 80 required
LastName string 80 required
FirstName string 40
Name string 121 computed
Email email 128 required
IsActive boolean
UserType picklist 40: Standard|AutomatedProcess|Guest
"""

ORGANIZATION = """
Name string 80
OrganizationType picklist 40
InstanceName string 5
IsSandbox boolean computed
DefaultLocaleSidKey picklist 40
TimeZoneSidKey picklist 40
"""

CONNECT = """
Name string 80
"""

OBJECTS: dict[str, tuple[str, str]] = {
    "Account": ("001", ACCOUNT), "Contact": ("003", CONTACT), "Lead": ("00Q", LEAD),
    "Opportunity": ("006", OPPORTUNITY),
    "OpportunityContactRole": ("00K", ROLE), "Campaign": ("701", CAMPAIGN), "CampaignMember": ("00v", MEMBER),
    "CampaignMemberStatus": ("01Y", MEMBER_STATUS), "User": ("005", USER), "Organization": ("00D", ORGANIZATION),
}
"""Name -> (key prefix, own fields)."""

NO_BIN = frozenset({"OpportunityContactRole", "CampaignMember", "CampaignMemberStatus"})
"""A row deleted directly vanishes: no bin, no tombstone, no getDeleted."""

READ_ONLY = frozenset({"User", "Organization"})

PERSON_FIELDS = (
    "Email", "Title", "MobilePhone", "LeadSource", "Department", "Birthdate", "HasOptedOutOfEmail", "HasOptedOutOfFax",
    "DoNotCall",
    "EmailBouncedDate", "EmailBouncedReason", "MailingStreet", "MailingCity", "MailingState", "MailingPostalCode",
    "MailingCountry",
)
"""Contact fields that show on a person account as Person<Name>."""

CHILDREN: dict[str, tuple[tuple[str, str], ...]] = {
    "Account": (("Contact", "AccountId"), ("Opportunity", "AccountId")),
    "Contact": (("OpportunityContactRole", "ContactId"), ("CampaignMember", "ContactId")),
    "Lead": (("CampaignMember", "LeadId"),),
    "Opportunity": (("OpportunityContactRole", "OpportunityId"),),
    "Campaign": (("CampaignMember", "CampaignId"), ("CampaignMemberStatus", "CampaignId")),
}
"""Which rows hang off a row, by the reference that holds them."""

CURRENCY_OBJECTS = ("Account", "Opportunity", "OpportunityContactRole", "Campaign", "Contact", "Lead")
