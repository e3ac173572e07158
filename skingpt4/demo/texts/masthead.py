"""Words of the top of the page."""

EN = {
    "tagline": "Upload a photo of skin and converse about it.",
    "drawn": (
        "Demonstration model, trained on drawn images only: it has never seen a real photo and "
        "its answers have no clinical use."
    ),
    "disclaimer": (
        "This is research software, not a medical device. Its answers can be wrong. Please see a "
        "dermatologist for any concern about your skin."
    ),
}

ZH = {
    "tagline": "上传一张皮肤照片，与模型对话。",
    "drawn": "演示模型，只用绘制的图像训练：它从未见过真实照片，其回答没有临床用途。",
    "disclaimer": (
        "这是研究软件，不是医疗器械。它的回答可能有误。如对皮肤有任何担忧，请咨询皮肤科医生。"
    ),
}
