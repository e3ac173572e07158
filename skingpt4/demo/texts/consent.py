"""Words of the consent panel, for a reader of about twelve years."""

EN = {
    "text": (
        "<h2>Before you begin</h2><ul>"
        "<li><strong>This is not a doctor.</strong> It is research software. Its answers can be "
        "wrong, and it can miss a serious disease. Do not put off seeing a doctor because of what "
        "it says.</li>"
        "<li><strong>Is it urgent?</strong> If you feel very ill, find it hard to breathe, or your "
        "skin changes fast, call a doctor or an emergency number now.</li>"
        "<li><strong>Your photo stays here.</strong> Only the computer that runs this page looks "
        "at it. It is kept for this visit only and not used for training. You can delete it at any "
        "time; closing the page deletes it too.</li>"
        "<li><strong>Show only what you may show:</strong> your own skin, or that of somebody who "
        "agreed. Leave faces and names out of the picture where you can.</li></ul>"
    ),
    "elsewhere": (
        '<p class="elsewhere"><strong>Please note:</strong> on this page a second server writes '
        "the answers. Numbers computed from your photo, and your questions, are sent to it. The "
        "photo itself is not.</p>"
    ),
    "agree": "I understand and agree",
}

ZH = {
    "text": (
        "<h2>开始之前</h2><ul>"
        "<li><strong>它不是医生。</strong>这是研究软件，回答可能有误，也可能漏掉严重的疾病。"
        "请不要因为它的回答而推迟就医。</li>"
        "<li><strong>情况紧急吗？</strong>如果您感觉病得很重、呼吸困难，或皮肤变化很快，"
        "请立即联系医生或拨打急救电话。</li>"
        "<li><strong>您的照片留在这里。</strong>只有运行本页面的计算机会查看照片。"
        "照片只在本次访问期间保留，不用于训练。您可以随时删除；关闭页面也会删除。</li>"
        "<li><strong>只展示您有权展示的内容：</strong>您自己的皮肤，或已同意者的皮肤。"
        "请尽量不要拍到面部和姓名。</li></ul>"
    ),
    "elsewhere": (
        '<p class="elsewhere"><strong>请注意：</strong>本页面的回答由另一台服务器生成。'
        "由照片计算出的数值和您的问题会发送到该服务器，照片本身不会发送。</p>"
    ),
    "agree": "我已了解并同意",
}
