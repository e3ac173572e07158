"""Words of the second opinion."""

EN = {
    "title": "How sure is it? A second opinion",
    "intro": "The model answers step 1 again and again, each time drawing its words anew. The bars "
    "count which condition its answers name. These are counts, not probabilities.",
    "begin": "Get a second opinion",
    "stop": "Stop drawing",
    "progress": "{done} of {draws} answers drawn…",
    "caption": "Conditions named by {done} independent answers",
    "condition": "Condition",
    "answers": "Answers",
    "count": "{count} of {done}",
    "none": "No condition named",
    "agrees": "{count} of {done} answers name the same condition. They can agree and still be "
    "wrong.",
    "differs": "The model does not agree with itself: its most frequent condition came up in only "
    "{count} of {done} answers. Do not rely on any one of them.",
    "unnamed": "Most answers name no condition: {count} of {done}.",
    "stale": "A photo was added since; get a second opinion on all of them.",
    "all": "Read all {done} answers",
    "repeat": "Drawn at temperature {temperature}, seeds {first} to {last}.",
}

ZH = {
    "title": "它有多大把握？第二意见",
    "intro": "模型会反复重新回答第 1 步，每次都重新抽取用词。条形图统计各回答提到的疾病。"
    "这些是次数，不是概率。",
    "begin": "获取第二意见",
    "stop": "停止抽取",
    "progress": "已完成 {draws} 个回答中的 {done} 个……",
    "caption": "{done} 个独立回答所提到的疾病",
    "condition": "疾病",
    "answers": "回答",
    "count": "{done} 个中的 {count} 个",
    "none": "未提到疾病",
    "agrees": "{done} 个回答中有 {count} 个提到同一种疾病。回答一致也可能是错的。",
    "differs": "模型的回答前后不一致：最常见的疾病在 {done} 个回答中只出现了 {count} 次。"
    "请不要依赖其中任何一个回答。",
    "unnamed": "大多数回答没有提到疾病：{done} 个中的 {count} 个。",
    "stale": "此后又添加了照片；请针对所有照片重新获取第二意见。",
    "all": "查看全部 {done} 个回答",
    "repeat": "抽取温度 {temperature}，随机种子 {first} 至 {last}。",
}
