"""Words of the privacy panel."""

EN = {
    "title": "Your privacy",
    "kept": (
        "Photos and text are held in this computer's memory only, while this tab is open. An "
        "uploaded file is deleted as soon as it has been read, and with it the place, the time and "
        "the camera that were noted in it."
    ),
    "elsewhere": (
        "On this page a second server writes the answers: numbers computed from your photo, and "
        "your questions, are sent to it; the photo itself is not."
    ),
    "idle": "After {minutes} minutes without any action everything is deleted, too.",
    "offline": (
        "Offline: this program refuses every connection to other computers. Refused so far: "
        "{refused}."
    ),
    "online": "Online: this program was started with permission to reach other computers.",
    "delete": "Delete my data now",
    "deleted": "Your photos and everything said were deleted.",
    "left": "{files} of your files could not be deleted; tell whoever runs this page.",
}

ZH = {
    "title": "您的隐私",
    "kept": (
        "照片和文字仅在此标签页打开期间保存在本机内存中。上传的文件读取后立即删除，"
        "其中记录的地点、时间和相机信息也一并删除。"
    ),
    "elsewhere": (
        "本页面由另一台服务器生成回答：由照片计算出的数字和您的提问会发送给它，照片本身不会。"
    ),
    "idle": "{minutes} 分钟没有任何操作后，所有内容也会被删除。",
    "offline": "离线：本程序拒绝与其他计算机的任何连接。迄今已拒绝：{refused} 次。",
    "online": "在线：本程序启动时已获准连接其他计算机。",
    "delete": "立即删除我的数据",
    "deleted": "您的照片和所有对话内容已删除。",
    "left": "您的 {files} 个文件无法删除；请告知本页面的管理者。",
}
