"""Words of the evidence map."""

EN = {
    "title": "What did it look at? Evidence map",
    "intro": "One part of the photo after the other is hidden, and then shown alone, and the same "
    "answer is judged again. What stays bright makes it likelier.",
    "label": "Sensitivity of the answer, not proof of reasoning",
    "answer": "Answer to explain",
    "photo": "Photo",
    "photo_number": "Photo {number}",
    "begin": "Make the map",
    "stop": "Stop the map",
    "progress": "{percent} % of the photo looked at…",
    "no_answer": "There is no finished answer yet: ask a question first.",
    "result": "Strongest: {place}. Shown alone, it makes a word piece of this answer {times} times "
    "as likely as a blank photo does; hidden, {drop} % less likely than the whole photo.",
    "nothing": "No part of the photo changes this answer noticeably, hidden or shown alone: it "
    "does not depend on what the photo shows.",
    "place_0_0": "upper left",
    "place_0_1": "upper middle",
    "place_0_2": "upper right",
    "place_1_0": "middle left",
    "place_1_1": "centre",
    "place_1_2": "middle right",
    "place_2_0": "lower left",
    "place_2_1": "lower middle",
    "place_2_2": "lower right",
}

ZH = {
    "title": "它看了哪里？证据图",
    "intro": "依次遮住照片的每一部分，再单独显示它，并重新评估同一回答。"
    "保持明亮的区域会提高该回答的可能性。",
    "label": "表示回答的敏感度，并不证明推理过程",
    "answer": "要解释的回答",
    "photo": "照片",
    "photo_number": "照片 {number}",
    "begin": "生成证据图",
    "stop": "停止生成",
    "progress": "已检查照片的 {percent}%……",
    "no_answer": "还没有完成的回答：请先提问。",
    "result": "影响最大的区域：{place}。单独显示它时，"
    "该回答中每个词元的可能性是空白照片的 {times} 倍；"
    "遮住它时，比整张照片低 {drop}%。",
    "nothing": "遮住或单独显示照片的任何部分，该回答都没有明显变化：它不取决于照片的内容。",
    "place_0_0": "左上",
    "place_0_1": "中上",
    "place_0_2": "右上",
    "place_1_0": "左中",
    "place_1_1": "中央",
    "place_1_2": "右中",
    "place_2_0": "左下",
    "place_2_1": "中下",
    "place_2_2": "右下",
}
