"""Words of the report, for a reader of about twelve years.

The signs of danger are general advice in our words, after what public health services tell people
about melanoma (its ABCDE rule), spreading skin infection, shingles near the eye and severe
allergic reactions. They do not depend on the photo, and no model wrote them.
"""

EN = {
    "make": "Make a report for the patient",
    "make_again": "Make it anew from the conversation",
    "intro": (
        "<h2>Report</h2><p>Read it and change what you like. Nothing is saved unless you press one "
        "of the buttons below it.</p>"
    ),
    "save_pdf": "Save as PDF",
    "save_html": "Save as web page",
    "save_json": "Save as JSON",
    "made": "The report is below. You can change every field.",
    "ready": "{name} is ready ({size} KB).",
    "link": "If it was not saved by itself, save it here",
    "nothing": "There is nothing to report yet: add a photo and ask about it first.",
    "too_long": "“{section}” has {length:,} characters, more than {most:,}; shorten it.",
    "title": "A look at your skin",
    "filename": "skin-report",
    "date": "Date",
    "model": "Made by",
    "photos": "Photo",
    "photo_number": "Photo {number}",
    "description": "What the photo shows",
    "condition": "What it could be",
    "causes": "Why it may happen",
    "next_steps": "What you can do next",
    "red_flags": "See a doctor at once if",
    "doctor_questions": "Questions for your doctor",
    "more": "Also asked",
    "not_asked": "This was not asked.",
    "no_condition": "The answers name no disease.",
    "counted": "Asked {done} times anew, its answers named: {named}.",
    "see_doctor": (
        "Show this to a dermatologist, who will look at your skin and may see it differently. "
        "Do not start or stop a medicine because of this report."
    ),
    "red_flags_text": (
        "- you have a fever, feel very ill, or the pain is strong\n"
        "- redness spreads within hours, or the skin turns dark, blisters or peels off widely\n"
        "- your face, lips or tongue swell, or it is hard to breathe\n"
        "- there is a rash near an eye, or your sight changes\n"
        "- a mole is uneven, has a ragged edge or several colours, is wider than 6 mm, or changes\n"
        "- a sore bleeds easily, or has not healed after four weeks"
    ),
    "doctor_questions_text": (
        "- What do you think it is, and what else could it be?\n"
        "- Do I need a test to be sure?\n"
        "- Which treatment do you advise, and what if I wait?\n"
        "- Is it contagious, and can it come back?\n"
        "- When should I come again?"
    ),
    "own_words": (
        "The sections on what the photo shows, what it could be, why, and what to do next hold the "
        "computer model’s own words; they may have been edited. It cannot examine you."
    ),
}

ZH = {
    "make": "为患者生成报告",
    "make_again": "根据对话重新生成",
    "intro": (
        "<h2>报告</h2><p>请阅读，并可随意修改。只有按下面的按钮才会保存。模型的回答是英文。</p>"
    ),
    "save_pdf": "保存为 PDF",
    "save_html": "保存为网页",
    "save_json": "保存为 JSON",
    "made": "报告在下方，每一栏都可以修改。",
    "ready": "{name} 已生成（{size} KB）。",
    "link": "如果没有自动保存，请点此保存",
    "nothing": "还没有可以报告的内容：请先添加照片并提问。",
    "too_long": "“{section}”有 {length:,} 个字符，超过 {most:,} 个；请缩短。",
    "title": "皮肤情况报告",
    "filename": "skin-report",
    "date": "日期",
    "model": "生成软件",
    "photos": "照片",
    "photo_number": "照片 {number}",
    "description": "照片显示了什么",
    "condition": "可能是什么",
    "causes": "可能的原因",
    "next_steps": "下一步可以做什么",
    "red_flags": "出现以下情况请立即就医",
    "doctor_questions": "可以问医生的问题",
    "more": "其他提问",
    "not_asked": "没有问到这一项。",
    "no_condition": "回答中没有提到疾病名称。",
    "counted": "重新询问 {done} 次，回答中提到：{named}。",
    "see_doctor": (
        "请把这份报告给皮肤科医生看；医生会检查您的皮肤，看法可能不同。"
        "请不要根据这份报告开始用药或停药。"
    ),
    "red_flags_text": (
        "- 发烧、感觉病得很重，或疼痛剧烈\n"
        "- 红肿在几小时内扩散，或皮肤发黑、大面积起水疱或脱落\n"
        "- 面部、嘴唇或舌头肿胀，或呼吸困难\n"
        "- 眼睛附近出现皮疹，或视力改变\n"
        "- 痣不对称、边缘不整齐、有几种颜色、直径超过 6 毫米，或正在变化\n"
        "- 伤口容易出血，或四周后仍未愈合"
    ),
    "doctor_questions_text": (
        "- 您认为这是什么？还可能是什么？\n"
        "- 需要做检查来确认吗？\n"
        "- 您建议怎样治疗？如果先等等看会怎样？\n"
        "- 会传染吗？会复发吗？\n"
        "- 我应该什么时候复诊？"
    ),
    "own_words": (
        "“照片显示了什么”“可能是什么”“可能的原因”和“下一步可以做什么”是计算机模型的原话，"
        "可能经过修改。模型无法为您做检查。"
    ),
}
