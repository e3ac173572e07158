"""The words by which scoring knows classes and concepts, and the cues that weigh them. Data only.

Which disease belongs to which class follows the paper's class names and, beyond them, Dermnet's
categories, from which the paper's classes come. Letters in parentheses are optional
(``tumo(u)r``); a plural s or es is always allowed, and a space also matches a hyphen. Raise VERSION
with every change, because scores of different versions do not compare.
"""

VERSION = 1

ACNE = "Acne and rosacea"

MALIGNANT = "Malignant lesions (actinic keratosis, basal cell carcinoma, etc.)"

DERMATITIS = (
    "Dermatitis (atopic dermatitis, eczema, exanthems, drug eruptions, contact dermatitis, etc.)"
)

BULLOUS = "Bullous disease"

BACTERIAL = "Bacterial infections (cellulitis, impetigo, etc.)"

LIGHT = "Light diseases (vitiligo, sun-damaged skin, etc.)"

CONNECTIVE = "Connective tissue diseases (lupus, etc.)"

BENIGN = "Benign tumors (seborrheic keratoses, etc.)"

MELANOCYTIC = "Melanoma skin cancer, nevi, moles"

FUNGAL = "Fungal infections (nail fungus, tinea ringworm, candidiasis, etc.)"

PSORIASIS = "Psoriasis and lichen planus"

INFESTATION = "Infestations and bites (scabies, Lyme disease, etc.)"

URTICARIA = "Urticaria hives"

VASCULAR = "Vascular tumors"

HERPES = "Herpes"

CLASS_TERMS: dict[str, tuple[str, ...]] = {
    ACNE: (
        "acne and rosacea", "acne", "acne vulgaris", "acneiform eruption", "rosacea", "rosecea",
        "rhinophyma", "perioral dermatitis", "hidradenitis suppurativa", "zits",
    ),
    MALIGNANT: (
        "malignant lesion", "actinic keratosis", "actinic keratoses", "solar keratosis",
        "solar keratoses", "basal cell carcinoma", "basal cell cancer", "basal cell", "bcc",
        "squamous cell carcinoma", "squamous cell cancer", "squamous cell", "scc", "carcinoma",
        "bowen disease", "bowen's disease", "keratoacanthoma", "merkel cell carcinoma",
        "paget disease", "paget's disease", "cutaneous lymphoma", "mycosis fungoides",
        "skin cancer", "malignancy", "malignancies", "malignant tumo(u)r", "malignant growth",
        "rodent ulcer", "actinic cheilitis",
    ),
    DERMATITIS: (
        "dermatitis", "dermatitides", "atopic dermatitis", "contact dermatitis",
        "seborrh(o)eic dermatitis", "nummular dermatitis", "stasis dermatitis", "neurodermatitis",
        "lichen simplex chronicus", "lichen simplex", "eczema", "excema", "exzema", "eczematous",
        "eczematoid", "dyshidrosis", "pompholyx", "exanthem", "exanthema", "drug eruption",
        "drug rash", "drug reaction", "morbilliform", "poison ivy", "diaper rash", "nappy rash",
        "erythroderma", "intertrigo", "prurigo nodularis",
    ),
    BULLOUS: (
        "bullous disease", "bullous disorder", "blistering disease", "blistering disorder",
        "bullous pemphigoid", "pemphigoid", "pemphigus", "pemphigus vulgaris",
        "pemphigus foliaceus", "dermatitis herpetiformis", "epidermolysis bullosa", "hailey-hailey",
        "linear iga", "herpes gestationis",
    ),
    BACTERIAL: (
        "bacterial infection", "bacterial skin infection", "cellulitis", "cellulites", "impetigo",
        "erysipelas", "ecthyma", "folliculitis", "furuncle", "furunculosis", "carbuncle", "boil",
        "staph infection", "staphylococcal infection", "staphylococcal", "streptococcal infection",
        "mrsa", "paronychia", "pyoderma", "erythrasma", "scalded skin syndrome",
    ),
    LIGHT: (
        "light disease", "vitiligo", "sun damaged skin", "sun damage", "photodamage",
        "photodamaged", "photoaging", "photoageing", "sunburn", "solar elastosis", "solar lentigo",
        "solar lentigines", "melasma", "chloasma", "polymorphous light eruption",
        "polymorphic light eruption", "photosensitivity", "photodermatitis", "phototoxic",
        "porphyria", "poikiloderma of civatte", "leukoderma", "sun spot", "age spot", "liver spot",
        "idiopathic guttate hypomelanosis",
    ),
    CONNECTIVE: (
        "connective tissue disease", "connective tissue disorder", "lupus", "lupus erythematosus",
        "discoid lupus erythematosus", "discoid lupus", "cutaneous lupus", "dle", "sle",
        "scleroderma", "systemic sclerosis", "morphea", "morphoea", "dermatomyositis",
        "lichen sclerosus", "sjogren syndrome", "sjogren's syndrome",
    ),
    BENIGN: (
        "benign tumo(u)r", "benign growth", "benign neoplasm", "seborrh(o)eic keratosis",
        "seborrh(o)eic keratoses", "seb k", "epidermoid cyst", "epidermal cyst",
        "epidermal inclusion cyst", "sebaceous cyst", "pilar cyst", "inclusion cyst",
        "dermatofibroma", "skin tag", "acrochordon", "lipoma", "neurofibroma", "keloid",
        "sebaceous hyperplasia", "syringoma", "milium", "milia", "stucco keratosis", "fibroma",
        "dermatosis papulosa nigra", "benign keratosis", "pilomatricoma", "trichoepithelioma",
    ),
    MELANOCYTIC: (
        "melanoma", "melanomas", "malignant melanoma", "melanocytic n(a)evus",
        "melanocytic n(a)evi", "n(a)evus", "n(a)evi", "mole", "dysplastic n(a)evus",
        "atypical mole", "lentigo", "lentigo maligna", "lentigines", "spitz n(a)evus",
        "blue n(a)evus", "blue n(a)evi", "freckle", "melanocytic lesion",
    ),
    FUNGAL: (
        "fungal infection", "fungal", "fungus", "nail fungus", "tinea", "tinea ringworm",
        "tinea corporis", "tinea pedis", "tinea cruris", "tinea versicolor",
        "pityriasis versicolor", "ringworm", "dermatophyte", "dermatophytosis", "onychomycosis",
        "candidiasis", "candida", "candidal", "yeast infection", "thrush", "athlete's foot",
        "athletes foot", "jock itch", "mycosis", "kerion",
    ),
    PSORIASIS: (
        "psoriasis", "psoriatic", "psoriasiform", "guttate psoriasis",
        "lichen planus", "lichenoid eruption", "pityriasis rosea", "pityriasis rubra pilaris",
        "psorasis", "soriasis",
    ),
    INFESTATION: (
        "infestation", "scabies", "scabietic", "mite", "lyme disease", "lyme",
        "erythema migrans", "erythema chronicum migrans", "insect bite", "bug bite", "bedbug",
        "bed bug", "bed bug bite", "flea bite", "mosquito bite", "spider bite", "tick bite",
        "arthropod bite", "arthropod assault", "lice", "pediculosis", "cutaneous larva migrans",
        "larva migrans", "papular urticaria", "bites", "leishmaniasis", "myiasis",
    ),
    URTICARIA: ("urticaria", "urticarial", "hives", "nettle rash", "angioedema", "dermatographism"),
    VASCULAR: (
        "vascular tumo(u)r", "vascular lesion", "vascular malformation", "h(a)emangioma",
        "infantile h(a)emangioma", "cherry angioma", "angioma", "angiokeratoma",
        "pyogenic granuloma", "lobular capillary h(a)emangioma", "kaposi sarcoma",
        "kaposi's sarcoma", "angiosarcoma", "port wine stain", "n(a)evus flammeus",
        "strawberry mark", "glomus tumo(u)r", "venous lake", "lymphangioma", "spider angioma",
        "spider n(a)evus",
    ),
    HERPES: (
        "herpes", "herpes simplex", "herpes zoster", "herpes labialis", "herpetic", "hsv", "vzv",
        "shingles", "zoster", "cold sore", "fever blister", "herpes virus", "herpesvirus",
        "eczema herpeticum", "chickenpox", "varicella",
    ),
}  # fmt: skip

MALIGNANT_TERMS: tuple[str, ...] = (
    *CLASS_TERMS[MALIGNANT], "melanoma", "melanomas", "malignant melanoma", "lentigo maligna",
    "kaposi sarcoma", "kaposi's sarcoma", "angiosarcoma",
)  # fmt: skip
"""Terms that raise the alarm; actinic keratosis too, as the paper files it with the malignant."""

CONCEPT_TERMS: dict[str, tuple[str, ...]] = {
    "Erythema": ("erythema", "erythematous", "redness", "red", "reddish", "reddened", "inflamed",
                 "pink", "pinkish", "hyper(a)emia", "flushing"),
    "Plaque": ("plaque", "plaque like", "raised area", "raised patch", "wide raised areas"),
    "Papule": ("papule", "papular", "maculopapular", "small bump", "tiny bump", "bump",
               "small raised bump", "papulosquamous", "papulopustular", "papulopustule", "pimple",
               "pus filled bump"),
    "Brown(Hyperpigmentation)": ("brown", "brownish", "hyperpigmentation", "hyperpigmented",
                                 "brown hyperpigmentation",
                                 "darkening of the skin", "tan colo(u)r", "tan colo(u)red"),
    "Scale": ("scale", "scaly", "scaling", "scaliness", "flake", "flaky", "flaking", "squame",
              "desquamation", "desquamating", "peeling", "white flakes"),
    "Crust": ("crust", "crusted", "crusting", "crusty", "scab", "scabbed", "scabbing"),
    "White(Hypopigmentation)": ("white hypopigmentation",
                                "hypopigmentation", "hypopigmented", "depigmentation",
                                "depigmented", "white patch", "white macule", "white spot",
                                "white area", "white colo(u)r", "loss of pigment",
                                "loss of pigmentation", "pigment loss", "lighter patch"),
    "Yellow": ("yellow", "yellowish"),
    "Erosion": ("erosion", "eroded", "erosive", "raw area", "raw surface", "denuded"),
    "Nodule": ("nodule", "nodular", "lump", "nodulocystic"),
    "Ulcer": ("ulcer", "ulcerated", "ulceration", "ulcerative", "open sore"),
    "Friable": ("friable", "friable tissue", "bleeds easily", "bleed easily", "easily bleeding",
                "easy bleeding", "friability", "bleeds on touch"),
    "Patch": ("patch", "patchy", "flat area", "white patch", "raised patch", "lighter patch"),
    "Dome-shaped": ("dome shaped", "dome shape", "domed", "dome like"),
    "Exudate": ("exudate", "exudation", "exudative", "oozing", "ooze", "weeping", "discharge",
                "serous fluid", "drainage", "weepy"),
    "Scar": ("scar", "scarring", "scarred", "cicatricial"),
    "Pustule": ("pustule", "pustular", "pus filled", "papulopustular", "papulopustule",
                "pus filled bump"),
    "Telangiectasia": ("telangiectasia", "telangiectasias", "telangiectases", "telangiectatic",
                       "telangiectasis", "spider vein", "broken capillary", "broken capillaries",
                       "dilated blood vessel", "dilated vessel", "visible blood vessel",
                       "visible vessel", "arborizing vessel", "arborising vessel"),
    "Black": ("black", "blackish"),
    "Purple": ("purple", "purplish", "violaceous", "violet", "purple colo(u)r"),
    "Atrophy": ("atrophy", "atrophic", "thinning of the skin", "skin thinning"),
    "Bulla": ("bulla", "bullae", "bullous lesion", "large blister", "tense blister",
              "flaccid blister", "tense bulla"),
    "Umbilicated": ("umbilicated", "umbilication", "central dimple", "central dell",
                    "central depression"),
    "Vesicle": ("vesicle", "vesicular", "small blister", "tiny blister", "vesiculation",
                "fluid filled blister", "blister", "blistering"),
    "Warty/Papillomatous": ("warty", "warty/papillomatous", "papillomatous", "verrucous",
                            "wart like", "verruciform", "warty surface"),
    "Excoriation": ("excoriation", "excoriated", "scratch mark", "scratches"),
    "Exophytic/Fungating": ("exophytic", "fungating", "exophytic/fungating", "cauliflower like",
                            "cauliflower", "exophytic growth"),
    "Xerosis": ("xerosis", "xerotic", "dry skin", "dryness", "skin is dry", "dry"),
    "Induration": ("induration", "indurated", "hardening", "hardened", "firmness"),
    "Fissure": ("fissure", "fissuring", "fissured", "crack", "cracked", "cracking"),
    "Sclerosis": ("sclerosis", "sclerotic", "sclerosed", "tightening of the skin"),
    "Pedunculated": ("pedunculated", "stalk", "on a stalk", "peduncle", "pedunculated base"),
    "Lichenification": ("lichenification", "lichenified", "thickened skin",
                        "thickening of the skin", "leathery", "accentuated skin markings",
                        "accentuated skin lines"),
    "Comedo": ("comedo", "comedone", "comedones", "comedonal", "blackhead", "whitehead",
               "black head", "white head", "clogged pore"),
    "Wheal": ("wheal", "weal", "welt"),
    "Flat topped": ("flat topped", "flat top"),
    "Translucent": ("translucent", "translucency", "pearly"),
    "Macule": ("macule", "macular", "maculopapular", "flat spot", "white macule"),
    "Salmon": ("salmon", "salmon colo(u)red", "salmon pink", "salmon colo(u)r"),
    "Purpura/Petechiae": ("purpura", "petechia", "petechiae", "purpuric", "purpura/petechiae",
                          "petechial", "ecchymosis", "ecchymoses", "bruise", "bruising"),
    "Acuminate": ("acuminate", "acuminated", "pointed tip", "pointed top"),
    "Cyst": ("cyst", "cystic", "nodulocystic"),
    "Blue": ("blue", "bluish"),
    "Abscess": ("abscess", "abscesses"),
    "Poikiloderma": ("poikiloderma", "poikilodermatous"),
    "Burrow": ("burrow", "tunnel"),
    "Gray": ("gray", "grey", "grayish", "greyish"),
    "Pigmented": ("pigmented", "pigment network", "pigmented network"),
}  # fmt: skip

IGNORED_TERMS: tuple[str, ...] = (
    "patch test", "patch testing", "scale of", "brown skin", "black skin", "white skin",
    "dark brown skin", "black people", "dry ice", "dry thoroughly", "pat dry", "keep dry",
    "clean and dry", "red flag", "white of the eye", "blue light", "red light",
    "dry the area", "gray area", "drug history", "red cross", "scar prevention",
    "lupus pernio", "multiple sclerosis", "tuberous sclerosis",
)  # fmt: skip
"""Phrases whose words would otherwise be taken for a class or a concept."""

NOT_MISSPELT: frozenset[str] = frozenset(("popular", "modular", "follicular", "infected"))
"""Words that are near one of the vocabulary's and mean something else."""

CLAUSE_ENDS = (
    r"[.;!?\n]", r"\bbut\b", r"\bhowever\b", r"\balthough\b", r"\bthough\b", r"\byet\b",
    r"\bwhereas\b", r"\bwhile\b", r"\bexcept\b", r"\bother than\b", r"\bapart from\b",
)  # fmt: skip
"""What no cue reaches across."""

NEW_STATEMENT = (
    r"\b(?:is|are|was|were|be|shows?|has|have|seen|visible|present|there|this|it|i|we|the|positive|"
    r"suggest\w*|indicat\w*|consistent|likely|probably|appears?)\b"
)
"""In a list after a cue ("no scale, crust or …"), what shows that the list is over."""

PSEUDO_CUES = (
    r"no doubt", r"not only", r"not just", r"not merely", r"not necessarily", r"no change",
    r"not (?:sure|certain|clear)", r"not uncommon\w*", r"no known", r"not known", r"no longer",
    r"no cure", r"not contagious", r"not a (?:substitute|doctor|replacement)", r"not painful",
    r"(?:can ?not|can't|could not|couldn't) (?:say|tell|be sure|determine|confirm)",
    r"not typical", r"without (?:treatment|a biopsy|biopsy|further|more|seeing|examin\w+)",
    r"not medical",
)  # fmt: skip
"""What looks like a denial and is none."""

DENIED_CUES = (
    r"no", r"not", r"without", r"nor", r"neither", r"never", r"none of", r"den(?:y|ies|ied)",
    r"lack(?:s|ing|ed)?(?: of)?", r"absen(?:t|ce of)", r"free (?:of|from)", r"negative for",
    r"ruled out", r"rules out", r"excluded", r"rather than", r"instead of", r"as opposed to",
    r"unlike", r"unlikely(?: to be)?", r"\w+n't", r"cannot", r"(?:argues?|speaks?) against",
    r"(?:differs?|distinct|different) from", r"(?:mistaken|misdiagnosed) (?:for|as)",
)  # fmt: skip
"""Before a word, in its clause: it is denied."""

OPEN_CUES = (
    r"(?:cannot|can't|can not|could not|couldn't) (?:be )?(?:rule[sd]? out|exclude[d]?)",
    r"not (?:be )?(?:ruled? out|excluded?)", r"(?:to |must |should )?(?:rule out|exclude)",
    r"ruling out", r"excluding", r"history of", r"risk (?:of|for)", r"risk factors? for",
    r"(?:progress|turn|develop|evolve|transform)\w* (?:in)?to", r"secondary", r"complicated by",
    r"treated for", r"prevent\w*", r"complications? (?:include|such as|like)", r"screen\w* for",
    r"could lead to", r"can lead to", r"may lead to", r"mimic\w*", r"confused with",
)  # fmt: skip
"""Before a word: it is raised, but not as what the photo shows."""

CONSIDERED_CUES = (
    r"differential\w*(?: diagnos[ie]s)?", r"also consider", r"consider(?:ed|ing)?",
    r"(?:other|further|alternative) (?:possibilit\w+|diagnos[ie]s|conditions?|causes?)",
    r"alternative(?:ly|s)?", r"less likely", r"less probable", r"possibly", r"versus", r"vs",
    r"(?:could|may|might) also", r"possibilities", r"second(?:ly)?", r"third(?:ly)?",
    r"similar to", r"resembl\w+", r"reminiscent of",
)  # fmt: skip
"""Before a word: it is one candidate, behind those that are stated."""

FAVOURED_CUES = (
    r"most (?:likely|probably|probable|consistent with|compatible with|suggestive of)",
    r"more (?:likely|consistent with|suggestive of|in keeping with)", r"likeliest",
    r"(?:highly|strongly|very) (?:suggestive of|consistent with|likely|suggests?|suspicious for)",
    r"(?:final |working |primary |main |leading |probable |my )?diagnosis(?: is| would be| of|:)",
    r"diagnosed (?:as|with)", r"favou?r\w*", r"in favou?r of", r"points? (?:strongly )?to\w*",
    r"classic(?:al)? (?:for|of|case of|presentation of)", r"(?:typical|characteristic) (?:of|for)",
    r"best (?:fits?|explained by|matches)", r"i would go with", r"go with", r"impression:?",
    r"(?:final )?answer(?: is|:)", r"conclu\w+", r"in keeping with", r"actually", r"in fact",
)  # fmt: skip
"""Before a word: it is what the text settles on."""

DENIED_AFTER = (
    r"(?:is|are|was|were|has been|have been|can be|could be|seems?|appears?|look\w*)"
    r"(?: \w+ly| quite| very| therefore| also)?"
    r" (?:absent|unlikely|ruled out|excluded|lacking|out of the question|not (?:seen|present|"
    r"visible|noted|observed|evident|found|appreciated|apparent|identified|likely|suspected|"
    r"supported|convincing|consistent|detected|shown|the diagnosis))",
    r"(?:isn't|aren't|wasn't|weren't) (?:seen|present|visible|noted|observed|evident|found|"
    r"appreciated|apparent|likely)",
    r"not (?:seen|present|visible|noted|observed|evident|identified|likely)", r"absent",
    r"unlikely", r": (?:no|none|absent|negative)",
)  # fmt: skip
"""After a word, in its clause: it is denied."""

OPEN_AFTER = (
    r"(?:cannot|can't|can not|could not|couldn't|should|must|has to|have to|needs? to)"
    r"(?: also)? be (?:ruled out|excluded|considered to be excluded)",
    r"(?:is|are) not (?:ruled out|excluded)",
)  # fmt: skip
"""After a word: it is raised, but not as what the photo shows."""

CONSIDERED_AFTER = (
    r"(?:is|are|seems?|would be|being)? ?(?:also )?(?:less likely|less probable|a possibility|"
    r"possible|in the differential|another possibility|also possible)",
    r"(?:should|could|may|might|can) (?:also )?be considered",
)  # fmt: skip
"""After a word: it is one candidate, behind those that are stated."""

FAVOURED_AFTER = (
    r"(?:is|are|seems?|appears?|would be|remains)? ?(?:the |my |by far )*(?:most likely|"
    r"most probable|more likely|likeliest|top (?:choice|diagnosis)|leading diagnosis|favou?red|"
    r"best fit|first choice|working diagnosis|main suspicion)", r"fits best", r"is my diagnosis",
)  # fmt: skip
"""After a word: it is what the text settles on."""

REFUSALS = (
    r"(?:can ?not|can't|could not|couldn't|unable to|not able to|am not in a position to|"
    r"won't|will not|not possible to|impossible to|difficult to|hard to)"
    r"(?: \w+){0,3} (?:diagnos\w*|determine|identify|tell|say|provide|assess|give|make|help|see|"
    r"interpret|describe|analy[sz]e|evaluate|assist|view|comment|offer|process|name|judge)",
    r"as an ai", r"i'm sorry", r"i am sorry", r"i apologi[sz]e", r"don't know", r"do not know",
    r"no idea", r"insufficient", r"not enough", r"too (?:blurry|dark|unclear)", r"no image",
    r"not qualified", r"not a doctor", r"no diagnosis", r"unknown", r"non-?diagnostic",
    r"not sure what", r"uncertain", r"unclear what", r"could be (?:anything|many things)",
    r"cannot be (?:determined|identified|diagnosed|made|assessed|established)",
    r"can't be (?:determined|identified|diagnosed|made|assessed|established)",
    r"decline", r"refuse",
)  # fmt: skip
"""Where a text names no class: it declines to."""
