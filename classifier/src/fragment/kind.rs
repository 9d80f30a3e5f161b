//! The kinds of fragments: which object of a SIS, and which of its columns are kept, in order.
//!
//! Role: one table. Decoders write rows in its order, the assembler reads them by it. The names are those on the wire:
//! Skyward Qmlativ's for the first 27, OneRoster's for the rest. OneRoster's ids are text, so each of its rows leads with
//! a number made from the id, by which rows are found ([`crate::sourced_id`]), and its lists are packed into a cell each.
//!
//! Invariants: the first column of a kind is its primary key; a kind's number never changes its meaning, since pages of
//! a run are read by the next version of this program (the page version says so when columns move). A column is added at
//! the end of its kind, where rows written before read as null.

/// How a column's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A whole number; ids come as number or as text.
    Number,
    /// Text of any script.
    Text,
    /// Yes or no.
    Flag,
    /// A calendar date.
    Date,
}

/// A column of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Name on the wire.
    pub name: &'static str,
    /// How it is read.
    pub form: Form,
}

/// A column that knows its place in the row.
pub trait Column: Copy {
    /// Whose column it is.
    const KIND: Kind;
    /// Its place, from 0.
    fn place(self) -> usize;
}

macro_rules! kinds {
    ($($kind:ident = $number:literal, $resource:literal, by $by:ident { $($column:ident: $name:literal $form:ident),+ $(,)? })+) => {
        /// Which object of the SIS a row is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $(#[doc = concat!("`", $resource, "`.")] $kind = $number),+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Reads a kind's number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)+
                    _ => None,
                }
            }

            /// The resource, as the listings name it.
            pub const fn resource(self) -> &'static str {
                match self {
                    $(Self::$kind => $resource),+
                }
            }

            /// Its columns, in the order of the row.
            pub const fn columns(self) -> &'static [ColumnSpec] {
                match self {
                    $(Self::$kind => {
                        const COLUMNS: &[ColumnSpec] = &[$(ColumnSpec { name: $name, form: Form::$form }),+];
                        COLUMNS
                    }),+
                }
            }

            /// The column by which rows of this kind are looked up.
            pub const fn lookup(self) -> usize {
                match self {
                    $(Self::$kind => column::$kind::$by as usize),+
                }
            }
        }

        /// The columns of each kind.
        pub mod column {
            use super::{Column, Kind};
            $(
                #[doc = concat!("Columns of `", $resource, "`.")]
                #[derive(Debug, Clone, Copy, PartialEq, Eq)]
                pub enum $kind {
                    $(#[doc = concat!("`", $name, "`.")] $column),+
                }

                impl Column for $kind {
                    const KIND: Kind = Kind::$kind;
                    fn place(self) -> usize {
                        self as usize
                    }
                }
            )+
        }
    };
}

kinds! {
    Student = 1, "Student/Student", by StudentId {
        StudentId: "StudentID" Number, NameId: "NameID" Number, StudentNumber: "StudentNumber" Text,
        StateId: "CalculatedStudentStateID" Text, FirstName: "FirstName" Text, MiddleName: "MiddleName" Text,
        LastName: "LastName" Text, Grade: "Grade" Text, GradYear: "GradYear" Number,
        CalculatedGradYear: "CalculatedGradYear" Number,
    }
    Name = 2, "Demographics/Name", by NameId {
        NameId: "NameID" Number, FirstName: "FirstName" Text, MiddleName: "MiddleName" Text,
        LastName: "LastName" Text, BirthDate: "BirthDate" Date, Gender: "Gender" Text, GenderCode: "GenderCode" Text,
    }
    NamePhone = 3, "Demographics/NamePhone", by NameId {
        NamePhoneId: "NamePhoneID" Number, NameId: "NameID" Number, Rank: "Rank" Number,
        PhoneTypeId: "PhoneTypeID" Number, PhoneNumber: "PhoneNumber" Text, Extension: "Extension" Text,
        IsConfidential: "IsConfidential" Flag,
    }
    NameEmail = 4, "Demographics/NameEmail", by NameId {
        NameEmailId: "NameEmailID" Number, NameId: "NameID" Number, Rank: "Rank" Number,
        EmailTypeId: "EmailTypeID" Number, EmailAddress: "EmailAddress" Text,
    }
    NameAddress = 5, "Demographics/NameAddress", by NameId {
        NameAddressId: "NameAddressID" Number, NameId: "NameID" Number, AddressId: "AddressID" Number,
        IsPhysical: "IsPhysical" Flag, IsMailing: "IsMailing" Flag,
    }
    Address = 6, "Demographics/Address", by AddressId {
        AddressId: "AddressID" Number, StreetLine: "StreetNumberAndName" Text,
        StreetLineWithUnit: "StreetNumberAndNameIncludeSecondaryUnit" Text, StreetNumber: "StreetNumber" Text,
        StreetId: "StreetID" Number, UnitNumber: "SecondaryUnitNumber" Text, AddressLine2: "AddressLine2" Text,
        ZipId: "ZipID" Number, ZipCodeAddOn: "ZipCodeAddOn" Text, PoBox: "POBox" Text,
        Freeform: "FreeformAddress" Text, CountyId: "CountyID" Number,
    }
    Street = 7, "Demographics/Street", by StreetId {
        StreetId: "StreetID" Number, Name: "Name" Text, FormattedStreet: "FormattedStreet" Text,
        NameWithDirection: "StreetNameWithDirectionCode" Text,
    }
    Zip = 8, "Demographics/Zip", by ZipId {
        ZipId: "ZipID" Number, ZipCode: "ZipCode" Text, City: "City" Text, StateId: "StateID" Number,
        CountryCode: "CountryCode" Text,
    }
    State = 9, "SkySys/State", by StateId { StateId: "StateID" Number, Code: "Code" Text }
    County = 10, "Demographics/County", by CountyId { CountyId: "CountyID" Number, Name: "Name" Text }
    PhoneType = 11, "Demographics/PhoneType", by PhoneTypeId {
        PhoneTypeId: "PhoneTypeID" Number, Code: "Code" Text, Description: "Description" Text,
    }
    EmailType = 12, "Demographics/EmailType", by EmailTypeId {
        EmailTypeId: "EmailTypeID" Number, Code: "Code" Text, Description: "Description" Text,
    }
    StudentGuardian = 13, "Family/StudentGuardian", by StudentId {
        StudentGuardianId: "StudentGuardianID" Number, StudentId: "StudentID" Number,
        NameIdGuardian: "NameIDGuardian" Number, RelationshipId: "RelationshipID" Number, Rank: "Rank" Number,
        IsCustodial: "IsCustodialGuardian" Flag, MayPickUp: "AllowStudentPickup" Flag,
    }
    Relationship = 14, "Demographics/Relationship", by RelationshipId {
        RelationshipId: "RelationshipID" Number, Code: "Code" Text, Description: "Description" Text,
    }
    EmergencyContact = 15, "Demographics/EmergencyContact", by NameId {
        EmergencyContactId: "EmergencyContactID" Number, NameId: "NameID" Number,
        NameIdContact: "NameIDEmergencyContact" Number, RelationshipId: "RelationshipID" Number,
        Rank: "Rank" Number, MayPickUp: "AllowPickUp" Flag,
    }
    Entity = 16, "District/Entity", by EntityId {
        EntityId: "EntityID" Number, Code: "Code" Text, Name: "Name" Text,
        SchoolYearIdCurrent: "SchoolYearIDCurrent" Number,
    }
    School = 17, "Enrollment/School", by SchoolId {
        SchoolId: "SchoolID" Number, Code: "Code" Text, Name: "Name" Text, SchoolYearId: "SchoolYearID" Number,
        StateAssignedId: "StateAssignedID" Text, GradeLevelIdLow: "GradeLevelIDLow" Number,
        GradeLevelIdHigh: "GradeLevelIDHigh" Number, PhoneNumber: "PhoneNumber" Text,
    }
    EntitySchool = 18, "Enrollment/EntitySchool", by EntityId {
        EntitySchoolId: "EntitySchoolID" Number, EntityId: "EntityID" Number, SchoolId: "SchoolID" Number,
        IsDefault: "IsDefaultSchoolForEntity" Flag,
    }
    GradeLevel = 19, "Enrollment/GradeLevel", by GradeLevelId {
        GradeLevelId: "GradeLevelID" Number, Code: "Code" Text,
    }
    SchoolYear = 20, "District/SchoolYear", by SchoolYearId {
        SchoolYearId: "SchoolYearID" Number, NumericYear: "NumericYear" Number,
        IsCurrent: "IsCurrentYearForProvidedEntity" Flag,
    }
    StudentEntityYear = 21, "Enrollment/StudentEntityYear", by StudentId {
        StudentEntityYearId: "StudentEntityYearID" Number, StudentId: "StudentID" Number,
        EntityId: "EntityID" Number, SchoolYearId: "SchoolYearID" Number, IsDefaultEntity: "IsDefaultEntity" Flag,
        Grade: "Grade" Text, HomeroomId: "HomeroomID" Number,
    }
    EntryWithdrawal = 22, "Enrollment/EntryWithdrawal", by StudentId {
        EntryWithdrawalId: "EntryWithdrawalID" Number, StudentId: "StudentID" Number, EntityId: "EntityID" Number,
        SchoolYearId: "SchoolYearID" Number, SchoolId: "SchoolID" Number, StartDate: "StartDate" Date,
        EndDate: "EndDate" Date, WithdrawalDate: "WithdrawalDate" Date, EntryCodeId: "EntryCodeID" Number,
        WithdrawalCodeId: "WithdrawalCodeID" Number, IsDefaultEntity: "IsDefaultEntity" Flag,
        IsNoShow: "IsNoShow" Flag, NamedDate: "the named withdrawal date" Date,
    }
    EntryCode = 23, "Enrollment/EntryCode", by EntryCodeId {
        EntryCodeId: "EntryCodeID" Number, Code: "Code" Text, SchoolYearId: "SchoolYearID" Number,
    }
    WithdrawalCode = 24, "Enrollment/WithdrawalCode", by WithdrawalCodeId {
        WithdrawalCodeId: "WithdrawalCodeID" Number, Code: "Code" Text, SchoolYearId: "SchoolYearID" Number,
    }
    Homeroom = 25, "Enrollment/Homeroom", by HomeroomId { HomeroomId: "HomeroomID" Number, Code: "Code" Text }
    Staff = 26, "Staff/Staff", by StaffId {
        StaffId: "StaffID" Number, NameId: "NameID" Number, StaffNumber: "StaffNumber" Text,
    }
    StaffEntityYear = 27, "Staff/StaffEntityYear", by StaffId {
        StaffEntityYearId: "StaffEntityYearID" Number, StaffId: "StaffID" Number, EntityId: "EntityID" Number,
        IsActive: "IsActive" Flag, IsTeacher: "IsTeacher" Flag, SchoolYearId: "SchoolYearID" Number,
    }
    User = 28, "users", by Key {
        Key: "sourcedId (number)" Number, SourcedId: "sourcedId" Text, AsGiven: "sourcedId (as given)" Text,
        Status: "status" Text, Identifier: "identifier" Text, GivenName: "givenName" Text,
        MiddleName: "middleName" Text, FamilyName: "familyName" Text, Email: "email" Text, Phone: "phone" Text,
        Sms: "sms" Text, Grade: "grades" Text, Roles: "roles" Text, Agents: "agents" Text, UserIds: "userIds" Text,
        LegacyId: "metadata.ic.legacySourceId" Text, Metadata: "metadata" Text,
    }
    Org = 29, "orgs", by Key {
        Key: "sourcedId (number)" Number, SourcedId: "sourcedId" Text, AsGiven: "sourcedId (as given)" Text,
        Status: "status" Text, Name: "name" Text, Type: "type" Text, Identifier: "identifier" Text,
    }
    Demographics = 30, "demographics", by Key {
        Key: "sourcedId (number)" Number, SourcedId: "sourcedId" Text, AsGiven: "sourcedId (as given)" Text,
        Status: "status" Text, BirthDate: "birthDate" Date, Sex: "sex" Text,
    }
}

impl Kind {
    /// The kind that a listing's resource is read into.
    pub fn of_resource(resource: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.resource() == resource)
    }

    /// Where a field of this name is kept, as `asked` for: servers tell no case. A field of enrollments that no column has is the
    /// one that the district's file names for the withdrawal date, for nothing else is asked for beyond the columns.
    pub fn place_of(self, field: &str) -> Option<usize> {
        let named = || (self == Self::EntryWithdrawal).then(|| column::EntryWithdrawal::NamedDate.place());
        self.columns().iter().position(|column| column.name.eq_ignore_ascii_case(field)).or_else(named)
    }

    /// The one of the fields `asked` for that no column has: the named withdrawal date.
    pub fn named_date(self, asked: &[String]) -> Option<&str> {
        let named = column::EntryWithdrawal::NamedDate.place();
        asked
            .iter()
            .map(String::as_str)
            .find(|field| self == Self::EntryWithdrawal && self.place_of(field) == Some(named))
    }

    /// Whether a status rests on it: a row that cannot be attributed makes its page undecodable.
    pub const fn must_be_attributed(self) -> bool {
        matches!(self, Self::Student | Self::StudentEntityYear | Self::EntryWithdrawal)
    }
}

/// Columns that a kind has at most.
pub const MOST_COLUMNS: usize = 17;

/// One more than the highest kind number: length of a table over kinds.
pub const KINDS: usize = 31;

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(MOST_COLUMNS <= UNDATED, "the mask of seen columns has 64 bits, of which one is no column's");
    use crate::fragment::UNDATED;

    #[test]
    fn numbers_and_resources_lead_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(*kind as u8), Some(*kind));
            assert_eq!(Kind::of_resource(kind.resource()), Some(*kind));
            assert!((*kind as usize) < KINDS);
            assert!(kind.columns().len() <= MOST_COLUMNS);
            assert!(kind.lookup() < 2, "lookups read the first two cells only");
        }
        assert_eq!(Kind::from_number(0), None);
    }
}
