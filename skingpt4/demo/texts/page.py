"""Words that several panels say."""

EN = {
    "unexpected": "Something went wrong here, and the conversation is as it was before; please try "
    "again, and tell whoever runs this page if it happens again.",
    "queue": "Others are being answered first; you are number {place} in the queue.",
    "queue_seconds": "Others are being answered first; you are number {place} in the queue, about "
    "{seconds} s.",
    "running": "This is already under way.",
    "cancelled": "Stopped.",
}

ZH = {
    "unexpected": "这里出了问题，对话内容保持不变；请再试一次，"
    "如果再次发生，请告知本页面的管理者。",
    "queue": "正在为其他人作答；您排在第 {place} 位。",
    "queue_seconds": "正在为其他人作答；您排在第 {place} 位，约需 {seconds} 秒。",
    "running": "正在进行中。",
    "cancelled": "已停止。",
}
