"""What the small language model may say about each disease: cause, treatment, two common worries.

General medical knowledge in cautious, short sentences with a small vocabulary. It serves a
demonstration model and is no medical advice.
"""

from dataclasses import dataclass

SEE_A_DOCTOR = "Please see a dermatologist before you start any treatment."


@dataclass(frozen=True)
class Knowledge:
    """Texts of one disease.

    Attributes:
        cause: Sentences that follow the disease's name and explain its cause.
        treatment: What treatment may include, as the end of a sentence.
        contagious: Whether it passes from person to person, one sentence.
        danger: How dangerous it is, one sentence.
    """

    cause: str
    treatment: str
    contagious: str
    danger: str


NOT_CONTAGIOUS = "No, it does not pass from person to person."
CONTAGIOUS = "Yes, it can pass to other people by close contact."
HARMLESS = "It is usually harmless, but a doctor should confirm the diagnosis."
TROUBLESOME = "It is usually not dangerous, but it can last long and needs care."
SERIOUS = "It can be serious, so please see a doctor soon."
URGENT = "It can be dangerous, so please see a doctor as soon as possible."

CANCERS = ("basal cell carcinoma", "melanoma")
PRECANCERS = ("actinic keratosis",)

KNOWLEDGE: dict[str, Knowledge] = {
    "acne": Knowledge(
        "develops when hair follicles are blocked by oil and dead skin cells. "
        "Bacteria, hormones and family history can make it worse.",
        "benzoyl peroxide, topical retinoids or antibiotics",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "rosacea": Knowledge(
        "is a long-lasting inflammation of facial skin and its blood vessels, and its exact cause "
        "is unknown. Sun, heat, alcohol and spicy food can trigger flushing.",
        "sun protection, metronidazole cream, ivermectin cream or oral doxycycline",
        NOT_CONTAGIOUS,
        TROUBLESOME,
    ),
    "actinic keratosis": Knowledge(
        "is caused by many years of ultraviolet light from the sun. "
        "The damaged skin cells can slowly turn into squamous cell carcinoma.",
        "freezing with liquid nitrogen, fluorouracil cream or photodynamic therapy",
        NOT_CONTAGIOUS,
        SERIOUS,
    ),
    "basal cell carcinoma": Knowledge(
        "is a skin cancer that is mostly caused by ultraviolet light. "
        "It grows slowly from cells of the lower epidermis and rarely spreads.",
        "surgical removal, Mohs surgery or radiation therapy",
        NOT_CONTAGIOUS,
        SERIOUS,
    ),
    "atopic dermatitis": Knowledge(
        "comes from a weak skin barrier and an overactive immune response. "
        "Genes, dry air, stress and irritants can trigger it.",
        "moisturizers, topical corticosteroids or tacrolimus ointment",
        NOT_CONTAGIOUS,
        TROUBLESOME,
    ),
    "contact dermatitis": Knowledge(
        "appears when the skin touches an irritant or an allergen. "
        "Nickel, fragrance, soaps and plants are common triggers.",
        "avoiding the trigger, cool compresses and topical corticosteroids",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "bullous pemphigoid": Knowledge(
        "is an autoimmune disease in which antibodies attack the layer that holds the epidermis to "
        "the dermis. It mostly affects older people and some drugs can trigger it.",
        "strong topical corticosteroids, oral corticosteroids or doxycycline",
        NOT_CONTAGIOUS,
        SERIOUS,
    ),
    "pemphigus": Knowledge(
        "is an autoimmune disease in which antibodies attack the bonds between skin cells. "
        "The skin then forms weak blisters that break easily.",
        "oral corticosteroids, rituximab and careful wound care",
        NOT_CONTAGIOUS,
        URGENT,
    ),
    "impetigo": Knowledge(
        "is caused by staphylococcus or streptococcus bacteria that enter the upper skin. "
        "Small cuts, scratches and close contact help it to spread.",
        "gentle cleaning, mupirocin ointment or oral antibiotics",
        CONTAGIOUS,
        TROUBLESOME,
    ),
    "cellulitis": Knowledge(
        "is a deep skin infection, mostly by streptococcus or staphylococcus bacteria. "
        "They enter through wounds, cracks or other broken skin.",
        "oral or intravenous antibiotics, rest and raising the limb",
        NOT_CONTAGIOUS,
        URGENT,
    ),
    "vitiligo": Knowledge(
        "appears when the immune system destroys the cells that make pigment. "
        "Genes and other autoimmune diseases raise the risk.",
        "topical corticosteroids, tacrolimus ointment or light therapy, with sun protection",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "sun-damaged skin": Knowledge(
        "is caused by years of ultraviolet light from the sun or tanning beds. "
        "The light harms collagen, blood vessels and pigment cells.",
        "daily sunscreen, topical retinoids or laser therapy",
        NOT_CONTAGIOUS,
        TROUBLESOME,
    ),
    "lupus": Knowledge(
        "is an autoimmune disease in which the immune system attacks the body's own tissue. "
        "Genes, hormones and sunlight can trigger it.",
        "sun protection, topical corticosteroids or hydroxychloroquine",
        NOT_CONTAGIOUS,
        SERIOUS,
    ),
    "scleroderma": Knowledge(
        "is an autoimmune disease in which the skin makes too much collagen. "
        "The skin becomes hard and tight, and the exact trigger is unknown.",
        "moisturizers, light therapy, physiotherapy or methotrexate",
        NOT_CONTAGIOUS,
        SERIOUS,
    ),
    "seborrheic keratosis": Knowledge(
        "is a benign growth of cells of the upper skin. "
        "Age and family history are the main factors, and the exact cause is unknown.",
        "no treatment, freezing with liquid nitrogen or curettage if it disturbs",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "epidermoid cyst": Knowledge(
        "forms when skin cells move into the deeper skin and fill a sac with keratin. "
        "A blocked hair follicle or a small injury often starts it.",
        "no treatment, or surgical removal of the whole cyst if it disturbs",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "melanoma": Knowledge(
        "is a skin cancer of the cells that make pigment. "
        "Ultraviolet light, many moles, fair skin and family history raise the risk.",
        "prompt surgical removal, lymph node tests and immunotherapy",
        NOT_CONTAGIOUS,
        URGENT,
    ),
    "melanocytic nevus": Knowledge(
        "is a benign group of cells that make pigment. "
        "Genes and sunlight in childhood influence how many appear.",
        "no treatment, regular checks or surgical removal if it changes",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "tinea ringworm": Knowledge(
        "is caused by fungi that live on the keratin of the skin. "
        "It spreads by contact with infected people, animals or objects.",
        "terbinafine cream or clotrimazole cream, and keeping the skin dry",
        CONTAGIOUS,
        HARMLESS,
    ),
    "candidiasis": Knowledge(
        "is caused by candida yeast that grows in warm and moist skin folds. "
        "Diabetes, antibiotics and a weak immune system raise the risk.",
        "nystatin cream or clotrimazole cream, and keeping the skin dry",
        NOT_CONTAGIOUS,
        TROUBLESOME,
    ),
    "psoriasis": Knowledge(
        "is an immune disease in which skin cells grow too fast. "
        "Genes, stress, infections and some drugs can trigger it.",
        "topical corticosteroids, vitamin D creams, light therapy or biologic drugs",
        NOT_CONTAGIOUS,
        TROUBLESOME,
    ),
    "lichen planus": Knowledge(
        "appears when immune cells attack the skin, and its exact cause is unknown. "
        "Some drugs and hepatitis C are linked to it.",
        "topical corticosteroids, antihistamines for itch or light therapy",
        NOT_CONTAGIOUS,
        TROUBLESOME,
    ),
    "scabies": Knowledge(
        "is caused by tiny mites that dig tunnels into the upper skin. "
        "They spread by long skin contact, and an allergy to them causes the itch.",
        "permethrin cream or oral ivermectin for all close contacts, and hot washing of clothes",
        CONTAGIOUS,
        TROUBLESOME,
    ),
    "lyme disease": Knowledge(
        "is caused by borrelia bacteria that ticks carry. "
        "The round rash grows around the tick bite after days or weeks.",
        "oral doxycycline or amoxicillin",
        NOT_CONTAGIOUS,
        SERIOUS,
    ),
    "urticaria": Knowledge(
        "appears when mast cells in the skin release histamine. "
        "Foods, drugs, infections, pressure or cold can trigger it, and often no cause is found.",
        "antihistamines and avoiding the trigger",
        NOT_CONTAGIOUS,
        "It is usually harmless, but trouble with breathing is an emergency.",
    ),
    "hemangioma": Knowledge(
        "is a benign growth of cells that line blood vessels. "
        "It often appears in the first weeks of life and later shrinks.",
        "watching it, propranolol or laser therapy",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "pyogenic granuloma": Knowledge(
        "is a benign and fast growth of small blood vessels. "
        "It can follow a small injury, pregnancy or some drugs, and it bleeds easily.",
        "curettage, surgical removal or laser therapy",
        NOT_CONTAGIOUS,
        HARMLESS,
    ),
    "herpes simplex": Knowledge(
        "is caused by the herpes simplex virus, which stays in the nerves for life. "
        "Stress, fever or sunlight can wake it again.",
        "aciclovir or valaciclovir, best started early",
        CONTAGIOUS,
        TROUBLESOME,
    ),
    "herpes zoster": Knowledge(
        "is caused by the chickenpox virus, which wakes again in a nerve after many years. "
        "Age and a weak immune system raise the risk.",
        "early valaciclovir or aciclovir, and pain relief",
        "Its fluid can give chickenpox to people who never had it.",
        SERIOUS,
    ),
}
