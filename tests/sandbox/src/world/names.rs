//! Invented names in many scripts. Parts are common words of their languages, put together by chance.

/// Given and family names that go together.
struct Pool {
    given: &'static [&'static str],
    family: &'static [&'static str],
}

const LATIN: Pool = Pool {
    given: &[
        "Ada",
        "Amara",
        "Andrés",
        "Anaïs",
        "Aurelio",
        "Beatriz",
        "Benedict",
        "Björn",
        "Camila",
        "Caoimhe",
        "Chloë",
        "Dalia",
        "Desmond",
        "Elif",
        "Eloísa",
        "Emeka",
        "Esperanza",
        "Faith",
        "Fionn",
        "Genoveva",
        "Hannah-Mae",
        "Ignacio",
        "Inés",
        "Jamal",
        "Jean-Luc",
        "José",
        "Jürgen",
        "Kehinde",
        "Kwame",
        "Lázaro",
        "Leilani",
        "Łucja",
        "Maëlle",
        "María José",
        "Mateo",
        "Nia",
        "Noé",
        "Oluwaseun",
        "Øystein",
        "Paloma",
        "Quetzal",
        "Ramón",
        "Renée",
        "Ruairí",
        "Sinéad",
        "Søren",
        "Tariq",
        "Thuỳ",
        "Tomás",
        "Ulises",
        "Valentina",
        "Wren",
        "Ximena",
        "Yusuf",
        "Zoë",
        "Zuzana",
        "D'Andre",
        "Nguyệt",
        "Mary Ann",
        "Kaʻiulani",
    ],
    family: &[
        "Abbott",
        "Aguirre",
        "Åkesson",
        "Almeida",
        "Bąk",
        "Barrientos",
        "Beaumont",
        "Brandt",
        "Cárdenas",
        "Castañeda",
        "Çelik",
        "Crow Feather",
        "D'Angelo",
        "De la Fuente",
        "Đặng",
        "Díaz-Ortega",
        "Ebadi",
        "Escobedo",
        "Faraday",
        "Fitzgerald",
        "Gallardo",
        "Garza",
        "Goldwater",
        "Guðmundsdóttir",
        "Hernández",
        "Ibáñez",
        "Iturbide",
        "Jankowski",
        "Jiménez",
        "Kaplan",
        "Kowalczyk",
        "Lefèvre",
        "Longoria",
        "Lindström",
        "MacAllister",
        "Mbeki-Stone",
        "Müller",
        "Muñoz",
        "Nakamura",
        "Núñez",
        "O'Brien",
        "O'Connor-Reyes",
        "Okonkwo",
        "Peña",
        "Pérez",
        "Quiroga",
        "Ramírez",
        "Reyes",
        "Sáenz",
        "Šimić",
        "Smith-Jones",
        "St. Clair",
        "Treviño",
        "Uribe",
        "Van der Berg",
        "Vásquez",
        "Whitehorse",
        "Yáñez",
        "Zamora",
        "Żeleński",
    ],
};

const OTHERS: [Pool; 7] = [
    Pool {
        given: &["小雨", "明轩", "雅婷", "子涵", "建国"], family: &["王", "欧阳", "陳", "林", "司马"]
    },
    Pool { given: &["さくら", "悠真", "美咲", "ハナ"], family: &["佐々木", "髙橋", "渡邊", "山田"] },
    Pool { given: &["서연", "민준", "지우", "하은"], family: &["김", "박", "남궁", "이"] },
    Pool {
        given: &["ليلى", "يوسف", "فاطمة", "عمر"], family: &["الهاشمي", "بن سالم", "النجار", "حداد"]
    },
    Pool {
        given: &["Мария", "Тарас", "Ганна", "Сергій"], family: &["Коваленко", "Ёлкин", "Шевчук", "Д'яченко"]
    },
    Pool {
        given: &["अनन्या", "रोहन", "दीया", "कबीर"], family: &["शर्मा", "पटेल", "चौधरी", "सिंह"]
    },
    Pool {
        given: &["Ελένη", "Νίκος", "Δάφνη", "Ορφέας"], family: &["Παπαδάκης", "Ιωάννου", "Βλάχος", "Καλλέργης"]
    },
];

/// One family in twelve writes its names in a script other than Latin.
fn pool(family: u64) -> &'static Pool {
    match family % 12 {
        11 => &OTHERS[(family / 12 % 7) as usize],
        _ => &LATIN,
    }
}

fn pick(from: &'static [&'static str], hash: u64) -> &'static str {
    from[(hash % from.len() as u64) as usize]
}

/// A given name that fits the family.
pub(crate) fn given(family: u64, person: u64) -> &'static str {
    pick(pool(family).given, person >> 8)
}

/// The family's last name.
pub(crate) fn family(family: u64) -> &'static str {
    pick(pool(family).family, family >> 16)
}

/// Street names.
pub(crate) const STREETS: [&str; 24] = [
    "Bluebonnet",
    "Pecan",
    "Mesquite",
    "Live Oak",
    "Cottonwood",
    "San Jacinto",
    "Nueces",
    "Guadalupe",
    "Comal",
    "Juniper",
    "Yaupon",
    "Lamar",
    "Travis",
    "Mockingbird",
    "Roadrunner",
    "Prickly Pear",
    "Caliche",
    "Windmill",
    "Longhorn",
    "Peña",
    "Rio Frio",
    "Old Depot",
    "County Road 12",
    "King's",
];

/// Cities with their ZIP codes and county index.
pub(crate) const ZIPS: [(&str, &str, i64); 8] = [
    ("78001", "Alameda Wells", 1),
    ("78002", "Alameda Wells", 1),
    ("78003", "Piedra Clara", 1),
    ("78004", "Cottonseed", 2),
    ("78005", "Santa Rufina", 2),
    ("78006", "New Bremenhof", 2),
    ("78007", "Two Rivers", 3),
    ("78008", "Lone Mill", 3),
];

/// Counties, by index from 1.
pub(crate) const COUNTIES: [&str; 3] = ["Alameda", "Cottonseed", "Two Rivers"];
