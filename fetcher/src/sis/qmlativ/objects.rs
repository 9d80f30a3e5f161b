//! What Rollcall wants of Qmlativ: objects, their fields, and which of these a status rests on. One table.
//!
//! The names are Skyward's (wire/skyward.md A3). The classifier reads rows by the same names.

/// How much rests on an object's listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Statuses rest on it: incomplete or empty, nobody is taken out.
    Essential,
    /// It adds to the record.
    Supporting,
    /// As `Supporting`, and only where the connection wants staff.
    Staff,
}

/// An object that is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// `Module/Object`.
    pub resource: &'static str,
    /// Primary key: always asked for, and pages are sorted by it.
    pub key: &'static str,
    /// Further fields without which no status can be decided: the run fails where one is not granted.
    pub required: &'static [&'static str],
    /// Further fields, taken where granted.
    pub wanted: &'static [&'static str],
    /// How much rests on it.
    pub weight: Weight,
    /// One listing for each school year.
    pub per_year: bool,
    /// The run fails where the object is not granted at all.
    pub must_be_granted: bool,
}

/// Field of an object's rows that names their school year.
pub const YEAR: &str = "SchoolYearID";

/// Enrollments.
pub const ENTRY_WITHDRAWAL: &str = "Enrollment/EntryWithdrawal";

/// School years.
pub const SCHOOL_YEAR: &str = "District/SchoolYear";

/// Entities, each with its current school year.
pub const ENTITY: &str = "District/Entity";

const fn supporting(resource: &'static str, key: &'static str, wanted: &'static [&'static str]) -> Object {
    Object { resource, key, required: &[], wanted, weight: Weight::Supporting, per_year: false, must_be_granted: false }
}

const fn required(object: Object, required: &'static [&'static str]) -> Object {
    Object { required, weight: Weight::Essential, must_be_granted: true, ..object }
}

const fn essential(object: Object) -> Object {
    Object { weight: Weight::Essential, ..object }
}

const fn per_year(object: Object) -> Object {
    Object { per_year: true, ..object }
}

const fn staff(object: Object) -> Object {
    Object { weight: Weight::Staff, ..object }
}

/// The objects, those with the most rows first.
pub const OBJECTS: &[Object] = &[
    per_year(required(
        supporting(
            ENTRY_WITHDRAWAL,
            "EntryWithdrawalID",
            &["SchoolID", "EndDate", "WithdrawalDate", "EntryCodeID", "IsDefaultEntity", "IsNoShow"],
        ),
        &["StudentID", "EntityID", YEAR, "StartDate", "WithdrawalCodeID"],
    )),
    supporting(
        "Demographics/Name",
        "NameID",
        &["FirstName", "MiddleName", "LastName", "BirthDate", "Gender", "GenderCode"],
    ),
    per_year(essential(supporting(
        "Enrollment/StudentEntityYear",
        "StudentEntityYearID",
        &["StudentID", "EntityID", YEAR, "IsDefaultEntity", "Grade", "HomeroomID"],
    ))),
    required(
        supporting(
            "Student/Student",
            "StudentID",
            &[
                "StudentNumber",
                "CalculatedStudentStateID",
                "FirstName",
                "MiddleName",
                "LastName",
                "Grade",
                "GradYear",
                "CalculatedGradYear",
            ],
        ),
        &["NameID"],
    ),
    supporting(
        "Family/StudentGuardian",
        "StudentGuardianID",
        &["StudentID", "NameIDGuardian", "RelationshipID", "Rank", "IsCustodialGuardian", "AllowStudentPickup"],
    ),
    supporting(
        "Demographics/NamePhone",
        "NamePhoneID",
        &["NameID", "Rank", "PhoneTypeID", "PhoneNumber", "Extension", "IsConfidential"],
    ),
    supporting("Demographics/NameAddress", "NameAddressID", &["NameID", "AddressID", "IsPhysical", "IsMailing"]),
    supporting(
        "Demographics/Address",
        "AddressID",
        &[
            "StreetNumberAndName",
            "StreetNumberAndNameIncludeSecondaryUnit",
            "StreetNumber",
            "StreetID",
            "SecondaryUnitNumber",
            "AddressLine2",
            "ZipID",
            "ZipCodeAddOn",
            "POBox",
            "FreeformAddress",
            "CountyID",
        ],
    ),
    supporting("Demographics/NameEmail", "NameEmailID", &["NameID", "Rank", "EmailTypeID", "EmailAddress"]),
    supporting(
        "Demographics/EmergencyContact",
        "EmergencyContactID",
        &["NameID", "NameIDEmergencyContact", "RelationshipID", "Rank", "AllowPickUp"],
    ),
    supporting("Demographics/Street", "StreetID", &["Name", "FormattedStreet", "StreetNameWithDirectionCode"]),
    staff(supporting("Staff/Staff", "StaffID", &["NameID", "StaffNumber"])),
    per_year(staff(supporting(
        "Staff/StaffEntityYear",
        "StaffEntityYearID",
        &["StaffID", "EntityID", YEAR, "IsActive", "IsTeacher"],
    ))),
    per_year(supporting("Enrollment/Homeroom", "HomeroomID", &["Code", YEAR])),
    supporting("Demographics/Zip", "ZipID", &["ZipCode", "City", "StateID", "CountryCode"]),
    per_year(required(supporting("Enrollment/WithdrawalCode", "WithdrawalCodeID", &[]), &["Code", YEAR])),
    per_year(essential(supporting("Enrollment/EntryCode", "EntryCodeID", &["Code", YEAR]))),
    // What these two tell of the current year the system's metadata tells too; the year before is in the table alone.
    required(supporting(SCHOOL_YEAR, YEAR, &["NumericYear", "IsCurrentYearForProvidedEntity"]), &[]),
    essential(supporting(ENTITY, "EntityID", &["Code", "Name", "SchoolYearIDCurrent"])),
    per_year(supporting(
        "Enrollment/School",
        "SchoolID",
        &["Code", "Name", YEAR, "StateAssignedID", "GradeLevelIDLow", "GradeLevelIDHigh", "PhoneNumber"],
    )),
    supporting("Enrollment/EntitySchool", "EntitySchoolID", &["EntityID", "SchoolID", "IsDefaultSchoolForEntity"]),
    supporting("Enrollment/GradeLevel", "GradeLevelID", &["Code"]),
    supporting("Demographics/Relationship", "RelationshipID", &["Code", "Description"]),
    supporting("Demographics/PhoneType", "PhoneTypeID", &["Code", "Description"]),
    supporting("Demographics/EmailType", "EmailTypeID", &["Code", "Description"]),
    supporting("SkySys/State", "StateID", &["Code"]),
    supporting("Demographics/County", "CountyID", &["Name"]),
];

impl Object {
    /// Key, then required, then wanted fields.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.required.iter().copied()).chain(self.wanted.iter().copied())
    }

    /// Statuses rest on its listing.
    pub fn is_essential(&self) -> bool {
        self.weight == Weight::Essential
    }
}

/// Finds an object of the table.
pub fn object(resource: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.resource == resource)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_object_and_field_stands_once() {
        let resources: BTreeSet<_> = OBJECTS.iter().map(|object| object.resource).collect();
        assert_eq!(resources.len(), OBJECTS.len());
        for object in OBJECTS {
            let fields: BTreeSet<_> = object.fields().collect();
            assert_eq!(fields.len(), object.fields().count(), "{}", object.resource);
        }
    }

    #[test]
    fn a_listing_per_year_asks_for_the_year() {
        for object in OBJECTS.iter().filter(|object| object.per_year) {
            assert!(object.fields().any(|field| field == YEAR), "{}", object.resource);
        }
    }

    #[test]
    fn nothing_is_asked_for_that_is_not_needed() {
        let never = ["SocialSecurityNumber", "MaskedSocialSecurityNumber", "MedicaidNumber"];
        assert!(OBJECTS.iter().flat_map(Object::fields).all(|field| !never.contains(&field)));
    }
}
