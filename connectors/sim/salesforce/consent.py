"""The objects in which an organisation with data protection keeps consent, written as in ``standard``. None of them is
filled by anything: contacts and leads point to an Individual only where somebody made one.
"""

from __future__ import annotations

INDIVIDUAL = """
FirstName string 40
LastName string 80 required
Name string 121 computed
HasOptedOutTracking boolean
HasOptedOutProfiling boolean
HasOptedOutProcessing boolean
HasOptedOutSolicit boolean
HasOptedOutGeoTracking boolean
ShouldForget boolean
SendIndividualData boolean
CanStorePiiElsewhere boolean
IndividualsAge picklist 40: 13 Years or Older|16 Years or Older
BirthDate date
OwnerId reference ->User
MasterRecordId reference computed
"""

PURPOSE = """
Name string 80 required
Description textarea 32000
CanDataSubjectOptOut boolean
OwnerId reference ->User
"""

TYPE_CONSENT = """
Name string 255 required
PartyId reference ->Individual required create
ContactPointType picklist 40 required restricted: Email|MailingAddress|Phone|Social|Web
DataUsePurposeId reference ->DataUsePurpose
PrivacyConsentStatus picklist 40 restricted: OptIn|OptOut|Seen|NotSeen
EffectiveFrom datetime
EffectiveTo datetime
CaptureDate datetime
CaptureContactPointType picklist 40: Email|MailingAddress|Phone|Social|Web
CaptureSource string 255
DoubleConsentCaptureDate datetime
OwnerId reference ->User
"""

POINT_EMAIL = """
Name string 255
ParentId reference ->Individual,Account required
EmailAddress email 255 required
IsPrimary boolean
OwnerId reference ->User
"""

SUBSCRIPTION = """
Name string 255 required
DataUsePurposeId reference ->DataUsePurpose
OwnerId reference ->User
"""

CHANNEL = """
Name string 255 required
ContactPointType picklist 40 restricted: Email|MailingAddress|Phone|Social|Web
"""

CHANNEL_TYPE = """
Name string 255 required
CommSubscriptionId reference ->CommSubscription required create
EngagementChannelTypeId reference ->EngagementChannelType
OwnerId reference ->User
"""

SUBSCRIPTION_CONSENT = """
Name string 255 required
CommSubscriptionChannelTypeId reference ->CommSubscriptionChannelType required
ConsentGiverId reference ->Individual,Contact,Account,User
ContactPointId reference ->ContactPointEmail,Individual
DataUsePurposeId reference ->DataUsePurpose
PrivacyConsentStatus picklist 40 restricted: OptIn|OptOut|Seen|NotSeen
EffectiveFromDate date required
EffectiveToDate date
ConsentCapturedDateTime datetime
ConsentCapturedSource string 255
OwnerId reference ->User
"""

OBJECTS: dict[str, tuple[str, str]] = {
    "Individual": ("0PK", INDIVIDUAL), "DataUsePurpose": ("0ZW", PURPOSE), "ContactPointTypeConsent": ("0ZT", TYPE_CONSENT),
    "ContactPointEmail": ("9Vl", POINT_EMAIL), "CommSubscription": ("0Xl", SUBSCRIPTION),
    "EngagementChannelType": ("0eF", CHANNEL), "CommSubscriptionChannelType": ("0eB", CHANNEL_TYPE),
    "CommSubscriptionConsent": ("0dY", SUBSCRIPTION_CONSENT),
}
"""Name -> (key prefix, own fields). The prefixes but Individual's are ours."""

POINTING = ("Contact", "Lead")
"""What points to Individuals, by IndividualId."""
