"""Words of the settings of an answer."""

EN = {
    "title": "Settings of the answer",
    "temperature": "Temperature",
    "temperature_info": "0 always gives the most likely answer; higher values vary it.",
    "num_beams": "Beam width",
    "num_beams_info": "Above 1, several answers are weighed and the best one appears all at once.",
    "top_p": "Nucleus (top-p)",
    "top_p_info": "Above temperature 0: only the likeliest words that together have this share "
    "are drawn from.",
    "max_new_tokens": "Longest answer",
    "max_new_tokens_info": "In word pieces; about three quarters as many words.",
    "seed": "Seed of this conversation",
    "seed_info": "The same seed, photo, questions and settings give the same answers again.",
    "draws": "Answers of a second opinion",
    "draws_info": "How often the model is asked anew; the paper's consistency test asks ten times.",
}

ZH = {
    "title": "回答设置",
    "temperature": "温度",
    "temperature_info": "0 表示总是给出最可能的回答；数值越大，回答越多样。",
    "num_beams": "束宽",
    "num_beams_info": "大于 1 时，会权衡多个回答，最好的一个将一次性显示。",
    "top_p": "核采样（top-p）",
    "top_p_info": "温度大于 0 时：只从累计概率达到此值的最可能的词中抽取。",
    "max_new_tokens": "最长回答",
    "max_new_tokens_info": "以词元计；英文单词数约为其四分之三。",
    "seed": "本次对话的随机种子",
    "seed_info": "种子、照片、问题和设置都相同时，会得到相同的回答。",
    "draws": "第二意见的回答次数",
    "draws_info": "重新询问模型的次数；论文的一致性测试为十次。",
}
